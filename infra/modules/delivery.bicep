metadata description = 'What the identity of one system topic may do: fill the queue, put down dead letters. And who hears when it can not.'

param topicId string
param principalId string
param storageName string
param actionGroupId string
param tags object

var storageQueueDataMessageSender = 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var topicName = last(split(topicId, '/'))

// DroppedEventCount is what is lost for good; DeadLetteredCount comes back into the record by the service itself.
var watched = [
  {
    metric: 'DroppedEventCount'
    above: 0
    severity: 0
    says: 'Event Grid dropped events: they could be neither delivered nor put down as dead letters'
  }
  {
    metric: 'DeadLetteredCount'
    above: 0
    severity: 2
    says: 'Event Grid put down dead letters: they come back into the record within the hour, unless the service is down'
  }
  {
    metric: 'DeliveryAttemptFailCount'
    above: 10
    severity: 2
    says: 'Event Grid does not reach the queue switchyard-events: look at the roles of the topic and at the firewall of the storage account'
  }
]

resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageName
}

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2024-01-01' existing = {
  parent: storage
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2024-01-01' existing = {
  parent: queues
  name: 'switchyard-events'
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' existing = {
  parent: storage
  name: 'default'
}

resource letters 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' existing = {
  parent: blobs
  name: 'switchyard-deadletter'
}

resource fills 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queue
  name: guid(queue.id, principalId, storageQueueDataMessageSender)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageQueueDataMessageSender)
    principalId: principalId
    principalType: 'ServicePrincipal'
    description: 'Event Grid puts events on the queue'
  }
}

resource puts 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: letters
  name: guid(letters.id, principalId, storageBlobDataContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageBlobDataContributor)
    principalId: principalId
    principalType: 'ServicePrincipal'
    description: 'Event Grid puts down what it could not deliver'
  }
}

resource alerts 'Microsoft.Insights/metricAlerts@2018-03-01' = [for one in watched: {
  name: '${topicName}-${one.metric}'
  location: 'global'
  tags: tags
  properties: {
    description: one.says
    severity: one.severity
    enabled: true
    scopes: [topicId]
    evaluationFrequency: 'PT5M'
    windowSize: 'PT15M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: one.metric
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.EventGrid/systemTopics'
          metricName: one.metric
          timeAggregation: 'Total'
          operator: 'GreaterThan'
          threshold: one.above
        }
      ]
    }
    actions: [
      {
        actionGroupId: actionGroupId
      }
    ]
  }
}]
