metadata description = 'Leave to ask one Log Analytics workspace: rows of predictions and labels. In the resource group of that workspace.'

param workspaceName string
param principalId string

var logAnalyticsDataReader = '3b03c2da-16b3-4a49-8834-0f8130efdd3b'

resource workspace 'Microsoft.OperationalInsights/workspaces@2023-09-01' existing = {
  name: workspaceName
}

resource role 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: workspace
  name: guid(workspace.id, principalId, logAnalyticsDataReader)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', logAnalyticsDataReader)
    principalId: principalId
    principalType: 'ServicePrincipal'
    description: 'Rows of predictions and labels'
  }
}
