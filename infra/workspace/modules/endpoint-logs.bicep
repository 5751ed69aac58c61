// The policy of policies/endpoint-logs.json, in force for this resource group: every online endpoint, whoever makes it and whenever,
// sends its traffic log here.

param location string
param definitionId string
param analyticsId string

// The role that the policy names in roleDefinitionIds: what its own deployments need.
var logAnalyticsContributor = '92aaf0da-9dab-42b6-94a3-d43ce8d16293'

resource assignment 'Microsoft.Authorization/policyAssignments@2024-04-01' = {
  name: 'endpoint-logs'
  location: location
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    displayName: 'Online endpoints send their traffic log to Log Analytics'
    policyDefinitionId: definitionId
    parameters: {
      logAnalytics: {
        value: analyticsId
      }
    }
    nonComplianceMessages: [
      {
        message: 'Without its traffic log nobody can judge a rollout on this endpoint: it would go back.'
      }
    ]
  }
}

resource role 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(resourceGroup().id, assignment.id, logAnalyticsContributor)
  properties: {
    principalId: assignment.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', logAnalyticsContributor)
  }
}

output name string = assignment.name
