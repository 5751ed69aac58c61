// What a stage's pipeline may do at the shared registry: give its environments their roles there. Of prod that is Reader alone, so no
// file of prod can make prod publish.

param registryName string
param stage string
param deployPrincipalId string
param planPrincipalId string

var azureMLRegistryUser = '1823dd4f-9b8c-4ab6-ab4e-7397a3684615'
var reader = 'acdd72a7-3385-48ef-bd42-f606fba81ae7'
var roleBasedAccessControlAdministrator = 'f58310d9-a9f6-439a-9e8d-f62e7b41a168'

var given = stage == 'dev' ? '${azureMLRegistryUser}, ${reader}' : reader
var whom = stage == 'dev' ? '\'ServicePrincipal\', \'Group\'' : '\'ServicePrincipal\''
var attributes = 'Microsoft.Authorization/roleAssignments:'
var asked = '@Request[${attributes}RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {${given}} AND @Request[${attributes}PrincipalType] ForAnyOfAnyValues:StringEqualsIgnoreCase {${whom}}'
var standing = '@Resource[${attributes}RoleDefinitionId] ForAnyOfAnyValues:GuidEquals {${given}}'
var condition = '((!(ActionMatches{\'Microsoft.Authorization/roleAssignments/write\'})) OR (${asked})) AND ((!(ActionMatches{\'Microsoft.Authorization/roleAssignments/delete\'})) OR (${standing}))'
var here = resourceGroup().id

resource registry 'Microsoft.MachineLearningServices/registries@2025-12-01' existing = {
  name: registryName
}

resource assigns 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, stage, roleBasedAccessControlAdministrator)
  scope: registry
  properties: {
    principalId: deployPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roleBasedAccessControlAdministrator)
    condition: condition
    conditionVersion: '2.0'
    description: 'Lets dev publish and the others read'
  }
}

// The assignments are made by a deployment in this resource group.
resource deployments 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'deployments')
  properties: {
    roleName: 'Deployments (${resourceGroup().name})'
    description: 'Runs deployments. What they may make is said by other roles.'
    type: 'CustomRole'
    permissions: [
      {
        actions: ['Microsoft.Resources/deployments/*']
      }
    ]
    assignableScopes: [here]
  }
}

resource deploys 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, stage, 'deployments')
  properties: {
    principalId: deployPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: deployments.id
  }
}

resource reads 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, stage, reader)
  properties: {
    principalId: planPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', reader)
    description: 'Compares what is with what would be'
  }
}
