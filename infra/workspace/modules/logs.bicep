// Where the workspace and its endpoints write what they do: one Log Analytics workspace, and Application Insights upon it.

param name string
param location string
param tags object
param days int
param capGb int

resource analytics 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: 'log-${name}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: days
    workspaceCapping: {
      dailyQuotaGb: capGb
    }
    features: {
      // "Resource or workspace permissions": Switchyard reads an endpoint's rows by its role on the machine learning workspace.
      enableLogAccessUsingOnlyResourcePermissions: true
      disableLocalAuth: true
    }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-${name}'
  location: location
  tags: tags
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: analytics.id
    // Online deployments with app_insights_enabled write by the connection string, and know no other way.
    DisableLocalAuth: false
  }
}

output analyticsName string = analytics.name
output analyticsId string = analytics.id
output insightsName string = insights.name
