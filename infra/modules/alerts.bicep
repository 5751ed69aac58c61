metadata description = 'Who hears when the service itself is in trouble: by Azure Monitor and mail, without the service.'

param name string
param location string
param tags object
param insightsId string
param storageId string
param emails array

@description('Messages in all queues of the account, delayed ones included, above which somebody should look')
param queuedMessages int

// Functions whose names stand here are those of functions/*.py.
var queries = [
  {
    name: 'heartbeat'
    severity: 0
    says: 'The service has not looked at its configuration for 15 minutes: it is down, and events wait'
    query: 'requests | where name == "on_configuration" and success == true'
    operator: 'LessThan'
    threshold: 1
    window: 'PT15M'
    every: 'PT5M'
  }
  {
    name: 'poison'
    severity: 1
    says: 'A message was given up: look at the record, mend what is wrong, and replay it from the console'
    query: 'requests | where name in ("on_poison", "on_poisoned_event", "on_rollout_poison")'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT15M'
    every: 'PT5M'
  }
  {
    name: 'failures'
    severity: 2
    says: 'Functions fail: more than ten times within a quarter of an hour'
    query: 'requests | where success == false and name !in ("web", "approve", "acknowledge", "static")'
    operator: 'GreaterThan'
    threshold: 10
    window: 'PT15M'
    every: 'PT5M'
  }
  {
    name: 'late'
    severity: 2
    says: 'Events wait on the queue switchyard-events for more than ten minutes'
    query: 'traces | where operation_Name == "on_queued_event" and message startswith "Trigger Details" | extend since = todatetime(extract("Insert(?:ed|ion)(?:On|Time): ([^,]+)", 1, message)) | where timestamp - since > 10m'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT15M'
    every: 'PT5M'
  }
]

resource people 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: name
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'switchyard'
    enabled: true
    emailReceivers: [for (email, at) in emails: {
      name: 'person${at}'
      emailAddress: email
      useCommonAlertSchema: true
    }]
  }
}

resource looks 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for one in queries: {
  name: '${name}-${one.name}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: 'switchyard: ${one.name}'
    description: one.says
    severity: one.severity
    enabled: true
    scopes: [insightsId]
    evaluationFrequency: one.every
    windowSize: one.window
    autoMitigate: true
    criteria: {
      allOf: [
        {
          query: one.query
          timeAggregation: 'Count'
          operator: one.operator
          threshold: one.threshold
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: [people.id]
    }
  }
}]

// Azure counts messages once an hour and for the account as a whole: coarse, and true also while the app writes nothing.
resource piled 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: '${name}-queued'
  location: 'global'
  tags: tags
  properties: {
    description: 'More messages wait in the queues than the service should leave there'
    severity: 2
    enabled: true
    scopes: ['${storageId}/queueServices/default']
    evaluationFrequency: 'PT1H'
    windowSize: 'PT1H'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          name: 'queued'
          criterionType: 'StaticThresholdCriterion'
          metricNamespace: 'Microsoft.Storage/storageAccounts/queueServices'
          metricName: 'QueueMessageCount'
          timeAggregation: 'Average'
          operator: 'GreaterThan'
          threshold: queuedMessages
        }
      ]
    }
    actions: [
      {
        actionGroupId: people.id
      }
    ]
  }
}

output actionGroupId string = people.id
