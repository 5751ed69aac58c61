// Who may do what in the environment. Services are assigned as service principals, so Azure refuses the id of a person in their place;
// persons are groups, and main.bicep lets them into dev only.

param workspaceName string
param storageName string
param analyticsName string
param pipelinePrincipalId string
param switchyardPrincipalId string
param persons array

var roles = {
  'AzureML Data Scientist': 'f6c7c914-8db3-469d-8ca1-694a8f32e121'
  'Monitoring Reader': '43d0d8ad-25c7-4714-9337-8ba259a9fe05'
  'Log Analytics Data Reader': '3b03c2da-16b3-4a49-8834-0f8130efdd3b'
  'Storage Blob Data Reader': '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
  'Storage Blob Data Contributor': 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
  'Storage File Data Privileged Contributor': '69566ab7-960f-475b-8e7c-b3118f30c6bd'
}
var there = !empty(switchyardPrincipalId)

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = {
  name: workspaceName
}

resource analytics 'Microsoft.OperationalInsights/workspaces@2023-09-01' existing = {
  name: analyticsName
}

resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageName
}

// Switchyard submits jobs, makes deployments and moves traffic; it counts requests in the metrics and in the traffic log.
resource switchyardOnWorkspace 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in ['AzureML Data Scientist', 'Monitoring Reader']: if (there) {
    name: guid(workspace.id, switchyardPrincipalId, roles[role])
    scope: workspace
    properties: {
      principalId: switchyardPrincipalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
    }
  }
]

// It asks the logs for predictions, to hold them against the truth.
resource switchyardOnAnalytics 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in ['Log Analytics Data Reader']: if (there) {
    name: guid(analytics.id, switchyardPrincipalId, roles[role])
    scope: analytics
    properties: {
      principalId: switchyardPrincipalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
    }
  }
]

// It reads what the data collector wrote. On the account: the workspace names its containers itself.
resource switchyardOnStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in ['Storage Blob Data Reader']: if (there) {
    name: guid(storage.id, switchyardPrincipalId, roles[role])
    scope: storage
    properties: {
      principalId: switchyardPrincipalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
    }
  }
]

// The project's pipeline submits, registers and deploys; it uploads code and models.
resource pipelineOnWorkspace 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in ['AzureML Data Scientist']: {
    name: guid(workspace.id, pipelinePrincipalId, roles[role])
    scope: workspace
    properties: {
      principalId: pipelinePrincipalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
    }
  }
]

resource pipelineOnStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for role in ['Storage Blob Data Contributor']: {
    name: guid(storage.id, pipelinePrincipalId, roles[role])
    scope: storage
    properties: {
      principalId: pipelinePrincipalId
      principalType: 'ServicePrincipal'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[role])
    }
  }
]

// Persons do the same by hand, look at logs and metrics, and have their notebooks, which are files of the share.
resource personsWork 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in persons: {
    name: guid(workspace.id, id, roles['AzureML Data Scientist'])
    scope: workspace
    properties: {
      principalId: id
      principalType: 'Group'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['AzureML Data Scientist'])
    }
  }
]

resource personsWatch 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in persons: {
    name: guid(workspace.id, id, roles['Monitoring Reader'])
    scope: workspace
    properties: {
      principalId: id
      principalType: 'Group'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Monitoring Reader'])
    }
  }
]

resource personsData 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in persons: {
    name: guid(storage.id, id, roles['Storage Blob Data Contributor'])
    scope: storage
    properties: {
      principalId: id
      principalType: 'Group'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage Blob Data Contributor'])
    }
  }
]

resource personsNotebooks 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in persons: {
    name: guid(storage.id, id, roles['Storage File Data Privileged Contributor'])
    scope: storage
    properties: {
      principalId: id
      principalType: 'Group'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles['Storage File Data Privileged Contributor'])
    }
  }
]
