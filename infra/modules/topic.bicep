metadata description = 'The system topic of one source, with an identity of its own. A source has one at most: name one that is there instead.'

param name string

@description('That of the source')
param location string
param tags object
param sourceId string
param logsId string

@allowed(['Microsoft.MachineLearningServices.Workspaces', 'Microsoft.Storage.StorageAccounts'])
param topicType string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned' // behind the firewall of a storage account Event Grid delivers with this kind only
  }
  properties: {
    source: sourceId
    topicType: topicType
  }
}

resource failures 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: topic
  name: 'failures'
  properties: {
    workspaceId: logsId
    logs: [
      {
        category: 'DeliveryFailures' // with the reason, which the metrics do not tell
        enabled: true
      }
    ]
  }
}

output id string = topic.id
output principalId string = topic.identity.principalId
