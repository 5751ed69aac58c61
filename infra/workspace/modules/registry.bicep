// The registry makes its storage and its container registry itself, in a resource group that it manages.

param name string
param location string
param locations array
param owner string
param days int

var tags = {
  owner: owner
  'managed-by': 'infra/workspace'
}

resource registry 'Microsoft.MachineLearningServices/registries@2025-12-01' = {
  name: name
  location: location
  tags: tags
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    publicNetworkAccess: 'Enabled'
    regionDetails: [
      for one in locations: {
        location: one
        storageAccountDetails: [
          {
            systemCreatedStorageAccount: {
              storageAccountType: 'Standard_LRS'
              storageAccountHnsEnabled: false
              allowBlobPublicAccess: false
            }
          }
        ]
        acrDetails: [
          {
            systemCreatedAcrAccount: {
              // No other one can be replicated.
              acrAccountSku: 'Premium'
            }
          }
        ]
      }
    ]
  }
}

resource lock 'Microsoft.Authorization/locks@2020-05-01' = {
  name: 'keep'
  scope: registry
  properties: {
    level: 'CanNotDelete'
    notes: 'Every model in production comes from here.'
  }
}

resource analytics 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: 'log-${name}'
  location: location
  tags: tags
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: days
    features: {
      enableLogAccessUsingOnlyResourcePermissions: true
      disableLocalAuth: true
    }
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'switchyard'
  scope: registry
  properties: {
    workspaceId: analytics.id
    logs: [
      {
        categoryGroup: 'allLogs'
        enabled: true
      }
    ]
  }
}

output name string = registry.name
