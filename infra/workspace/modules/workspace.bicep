// The workspace, and the identity by which it uses what it stands on. Its roles are those that Azure Machine Learning asks for, each
// on one resource: an identity that the service makes itself would be an administrator of the whole resource group.

param name string
param location string
param tags object
param storageName string
param vaultName string
param imagesName string
param insightsName string
param analyticsName string
param publicAccess bool
param isolation string
param outboundRules object

var contributor = 'b24988ac-6180-42a0-ab88-20f7382dd24c'
var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var keyVaultAdministrator = '00482a5a-887f-4fb3-b363-3b7fe8e74483'

var approvedOnly = {
  isolationMode: isolation
  outboundRules: outboundRules
  firewallSku: 'Basic'
}

resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageName
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' existing = {
  name: vaultName
}

resource images 'Microsoft.ContainerRegistry/registries@2023-07-01' existing = {
  name: imagesName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

resource analytics 'Microsoft.OperationalInsights/workspaces@2023-09-01' existing = {
  name: analyticsName
}

resource identity 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-${name}-workspace'
  location: location
  tags: tags
}

resource storageRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in [contributor, storageBlobDataContributor]: {
    name: guid(storage.id, identity.id, role)
    scope: storage
    properties: {
      principalId: identity.properties.principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]

resource vaultRoles 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in [contributor, keyVaultAdministrator]: {
    name: guid(vault.id, identity.id, role)
    scope: vault
    properties: {
      principalId: identity.properties.principalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', role)
    }
  }
]

resource imagesRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(images.id, identity.id, contributor)
  scope: images
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', contributor)
  }
}

resource insightsRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, identity.id, contributor)
  scope: insights
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', contributor)
  }
}

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' = {
  // checkov:skip=CKV_AZURE_243: subnetId decides: modules/private-endpoints.bicep
  name: 'mlw-${name}'
  location: location
  tags: tags
  kind: 'Default'
  sku: {
    name: 'Basic'
    tier: 'Basic'
  }
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identity.id}': {}
    }
  }
  properties: {
    friendlyName: name
    primaryUserAssignedIdentity: identity.id
    storageAccount: storage.id
    keyVault: vault.id
    containerRegistry: images.id
    applicationInsights: insights.id
    systemDatastoresAuthMode: 'Identity'
    v1LegacyMode: false
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    managedNetwork: isolation == 'AllowOnlyApprovedOutbound' ? approvedOnly : { isolationMode: isolation }
    provisionNetworkNow: isolation != 'Disabled'
    // A container registry behind a private endpoint cannot build images itself.
    imageBuildCompute: publicAccess ? null : 'cpu-cluster'
  }
  dependsOn: [
    storageRoles
    vaultRoles
    imagesRole
    insightsRole
  ]
}

resource workspaceRole 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(workspace.id, identity.id, contributor)
  scope: workspace
  properties: {
    principalId: identity.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', contributor)
  }
}

// How runs went, and who changed what. What the judge reads is of endpoints, which have settings of their own: endpoint-logs.bicep.
resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'switchyard'
  scope: workspace
  properties: {
    workspaceId: analytics.id
    logs: [
      for category in [
        'AmlRunStatusChangedEvent'
        'AmlComputeClusterEvent'
        'AmlComputeJobEvent'
        'ComputeInstanceEvent'
        'ModelsChangeEvent'
        'ModelsActionEvent'
        'DataStoreChangeEvent'
        'EnvironmentChangeEvent'
        'PipelineChangeEvent'
      ]: {
        category: category
        enabled: true
      }
    ]
  }
}

output name string = workspace.name
output id string = workspace.id
