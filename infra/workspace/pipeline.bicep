// By whom environments are deployed: for one stage an identity that deploys and one that plans, each trusted by one environment of
// the repository and by nothing else. No secret, no person. An owner of the subscription deploys this once for each stage.
targetScope = 'subscription'

@allowed(['registry', 'dev', 'test', 'prod'])
param stage string

@description('Where the identities are.')
param location string

@description('The GitHub repository, OWNER/NAME. For Azure Pipelines give issuer and both subjects of the service connections instead.')
param repository string = ''

@description('Who signs the tokens of the pipeline.')
param issuer string = 'https://token.actions.githubusercontent.com'

@description('Whom the identity that deploys trusts.')
param subject string = 'repo:${repository}:environment:workspaces-${stage}'

@description('Whom the identity that plans trusts.')
param planSubject string = 'repo:${repository}:environment:workspaces-${stage}-plan'

@description('The model registry, as in the environments: subscription, resourceGroup, name. It has to be there, but for the stage registry.')
param registry object = {}

// The roles that infra/workspace gives: no pipeline can give another one, and none but dev's can give one to a person.
var given = [
  'b24988ac-6180-42a0-ab88-20f7382dd24c' // Contributor
  '00482a5a-887f-4fb3-b363-3b7fe8e74483' // Key Vault Administrator
  '7f951dda-4ed3-4680-a7ca-43fe172d538d' // AcrPull
  '92aaf0da-9dab-42b6-94a3-d43ce8d16293' // Log Analytics Contributor
  'f6c7c914-8db3-469d-8ca1-694a8f32e121' // AzureML Data Scientist
  '43d0d8ad-25c7-4714-9337-8ba259a9fe05' // Monitoring Reader
  '3b03c2da-16b3-4a49-8834-0f8130efdd3b' // Log Analytics Data Reader
  '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1' // Storage Blob Data Reader
  'ba92f5b4-2d11-453d-a403-e96b0029c9fe' // Storage Blob Data Contributor
  '69566ab7-960f-475b-8e7c-b3118f30c6bd' // Storage File Data Privileged Contributor
]
var contributor = 'b24988ac-6180-42a0-ab88-20f7382dd24c'
var resourcePolicyContributor = '36243c78-bf99-498c-9df9-86d9f8d28608'
var roleBasedAccessControlAdministrator = 'f58310d9-a9f6-439a-9e8d-f62e7b41a168'
var reader = 'acdd72a7-3385-48ef-bd42-f606fba81ae7'

var whom = stage == 'dev' ? '\'ServicePrincipal\', \'Group\'' : '\'ServicePrincipal\''
var attributes = 'Microsoft.Authorization/roleAssignments:'
var asked = '@Request[${attributes}RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {${join(given, ', ')}} AND @Request[${attributes}PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {${whom}}'
var standing = '@Resource[${attributes}RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {${join(given, ', ')}}'
var condition = '((!(ActionMatches{\'Microsoft.Authorization/roleAssignments/write\'})) OR (${asked})) AND ((!(ActionMatches{\'Microsoft.Authorization/roleAssignments/delete\'})) OR (${standing}))'
var here = subscription().id

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: 'rg-workspaces-${stage}-pipeline'
  location: location
}

module identities 'modules/pipeline-identities.bicep' = {
  name: 'identities'
  scope: group
  params: {
    stage: stage
    location: location
    issuer: issuer
    subject: subject
    planSubject: planSubject
  }
}

resource makes 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, stage, contributor)
  properties: {
    principalId: identities.outputs.deployPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', contributor)
    description: 'Makes the resource groups of environments, and what is in them'
  }
}

resource assigns 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, stage, roleBasedAccessControlAdministrator)
  properties: {
    principalId: identities.outputs.deployPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleBasedAccessControlAdministrator)
    condition: condition
    conditionVersion: '2.0'
    description: 'Gives the roles of the templates, to service principals; in dev to groups too'
  }
}

resource governs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, stage, resourcePolicyContributor)
  properties: {
    principalId: identities.outputs.deployPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', resourcePolicyContributor)
    description: 'The policy of endpoint logs: its definition, its assignments, and their remediation'
  }
}

// Contributor cannot lock. Whoever locks here cannot unlock: that is for an owner.
resource lock 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, 'lock')
  properties: {
    roleName: 'Lock (${subscription().subscriptionId})'
    description: 'Puts locks on resources, and takes none away.'
    type: 'CustomRole'
    permissions: [
      {
        actions: [
          'Microsoft.Authorization/locks/read'
          'Microsoft.Authorization/locks/write'
        ]
      }
    ]
    assignableScopes: [here]
  }
}

resource locks 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, stage, 'lock')
  properties: {
    principalId: identities.outputs.deployPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: lock.id
  }
}

resource whatIf 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(subscription().id, 'what-if')
  properties: {
    roleName: 'Deployment What-If (${subscription().subscriptionId})'
    description: 'Asks what a deployment would change, and changes nothing.'
    type: 'CustomRole'
    permissions: [
      {
        actions: [
          'Microsoft.Resources/deployments/whatIf/action'
          'Microsoft.Resources/deployments/validate/action'
        ]
      }
    ]
    assignableScopes: [here]
  }
}

resource asks 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, stage, 'what-if')
  properties: {
    principalId: identities.outputs.planPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: whatIf.id
  }
}

resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(subscription().id, stage, reader)
  properties: {
    principalId: identities.outputs.planPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', reader)
    description: 'Compares what is with what would be'
  }
}

// A scope is read even where the condition does not hold.
module onRegistry 'modules/pipeline-registry.bicep' = if (stage != 'registry') {
  name: 'workspaces-${stage}-on-registry'
  scope: resourceGroup(registry.?subscription ?? subscription().subscriptionId, registry.?resourceGroup ?? group.name)
  params: {
    registryName: registry.?name ?? ''
    stage: stage
    deployPrincipalId: identities.outputs.deployPrincipalId
    planPrincipalId: identities.outputs.planPrincipalId
  }
}

output deployClientId string = identities.outputs.deployClientId
output planClientId string = identities.outputs.planClientId
