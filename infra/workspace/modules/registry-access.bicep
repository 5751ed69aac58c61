// What an environment may do with the registry that all stages share: the pipeline of dev publishes, everybody else reads.

param registryName string
param publishes bool
param pipelinePrincipalId string
param jobsPrincipalId string
param persons array

var roles = {
  'AzureML Registry User': '1823dd4f-9b8c-4ab6-ab4e-7397a3684615'
  Reader: 'acdd72a7-3385-48ef-bd42-f606fba81ae7'
}
var pipelineRole = publishes ? 'AzureML Registry User' : 'Reader'

resource registry 'Microsoft.MachineLearningServices/registries@2025-12-01' existing = {
  name: registryName
}

resource pipeline 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, pipelinePrincipalId, roles[pipelineRole])
  scope: registry
  properties: {
    principalId: pipelinePrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles[pipelineRole])
  }
}

resource jobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, jobsPrincipalId, roles.Reader)
  scope: registry
  properties: {
    principalId: jobsPrincipalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.Reader)
  }
}

resource readers 'Microsoft.Authorization/roleAssignments@2022-04-01' = [
  for id in persons: {
    name: guid(registry.id, id, roles.Reader)
    scope: registry
    properties: {
      principalId: id
      principalType: 'Group'
      roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', roles.Reader)
    }
  }
]
