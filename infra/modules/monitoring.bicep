metadata description = 'Log Analytics and Application Insights. Without keys: who writes signs in.'

param logsName string
param insightsName string
param location string
param tags object

@description('Days for which logs and telemetry are kept')
param keepDays int

module logs 'br/public:avm/res/operational-insights/workspace:0.16.1' = {
  name: 'logs'
  params: {
    name: logsName
    location: location
    tags: tags
    dataRetention: keepDays
    enableTelemetry: false
  }
}

module insights 'br/public:avm/res/insights/component:0.8.0' = {
  name: 'insights'
  params: {
    name: insightsName
    location: location
    tags: tags
    workspaceResourceId: logs.outputs.resourceId
    disableLocalAuth: true
    disableIpMasking: false
    retentionInDays: keepDays
    enableTelemetry: false
  }
}

output logsId string = logs.outputs.resourceId
output insightsId string = insights.outputs.resourceId
output insightsName string = insights.outputs.name
output connectionString string = insights.outputs.connectionString
