metadata description = 'The function app: Flex Consumption, Python 3.13, every setting that the code reads.'

param name string
param planName string
param location string
param tags object

param identityId string
param identityClientId string
param storageName string
param vaultUri string
param insightsConnectionString string

@description('Empty: the app is not in a virtual network')
param subnetId string

@description('A folder of the package, or the URL of a blob container: SWITCHYARD_CONFIG')
param configuration string

@description('Where links in messages lead: SWITCHYARD_PUBLIC_URL')
param publicUrl string

@description('Names of settings that are secrets, such as TEAMS_FRAUD_URL; each is the secret teams-fraud-url of the vault')
param secrets array

@description('ARM ids that events may come from: SWITCHYARD_SOURCES')
param sources array
param allowedHosts array
param privateHosts array
param githubRepos array

@description('How much is taken on at most, by name, where not the default: SWITCHYARD_LIMITS')
param limits object

@description('An Event Grid topic that hears of rollouts; empty: none')
param topicEndpoint string

param acsEndpoint string
param acsSender string
param acsSmsFrom string

@description('Of the Durable Task Scheduler; empty: rollouts wait in the storage account')
param schedulerConnection string

@description('Settings beside those below: sovereign clouds, GITHUB_APP_ID and the like')
param extraSettings object

@description('Application id that people sign in to; empty: function keys')
param signInClientId string

@description('Whether a change asks for a role of that application')
param signInRoles bool

@allowed([2048, 4096])
param instanceMemoryMB int
param maximumInstances int
param zoneRedundant bool

@description('Instances that are always there, by the name of a scaling group or function: {http: 1}')
param alwaysReady object

var scheduled = !empty(schedulerConnection)
var signsIn = !empty(signInClientId)

var limited = [for one in items(limits): '${one.key}=${one.value}']
var settings = {
  AzureWebJobsStorage__accountName: storageName
  AzureWebJobsStorage__credential: 'managedidentity'
  AzureWebJobsStorage__clientId: identityClientId
  APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
  APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
  AZURE_CLIENT_ID: identityClientId
  AZURE_RESOURCE_MANAGER_URL: environment().resourceManager
  AZURE_AUTHORITY_HOST: environment().authentication.loginEndpoint
  AZURE_BLOB_SUFFIX: 'blob.${environment().suffixes.storage}'
  SWITCHYARD_CONFIG: configuration
  SWITCHYARD_PUBLIC_URL: publicUrl
  SWITCHYARD_SOURCES: join(sources, ',')
  SWITCHYARD_ALLOWED_HOSTS: join(allowedHosts, ',')
  SWITCHYARD_PRIVATE_HOSTS: join(privateHosts, ',')
  SWITCHYARD_GITHUB_REPOS: join(githubRepos, ',')
  SWITCHYARD_LIMITS: join(limited, ',')
  SWITCHYARD_SIGN_IN: signsIn ? (signInRoles ? 'entra-roles' : 'entra') : 'key'
  SWITCHYARD_TOPIC_ENDPOINT: topicEndpoint
  ACS_ENDPOINT: acsEndpoint
  ACS_EMAIL_SENDER: acsSender
  ACS_SMS_FROM: acsSmsFrom
}

// host.json leaves rollouts to the storage account. The platform scales by that file and not by these settings, so that an
// instance of the group "durable" has to be there always: see docs/decisions/0009.
var schedulerSettings = {
  AzureFunctionsJobHost__extensions__durableTask__storageProvider__type: 'azureManaged'
  AzureFunctionsJobHost__extensions__durableTask__storageProvider__connectionStringName: 'DURABLE_TASK_SCHEDULER_CONNECTION_STRING'
  DURABLE_TASK_SCHEDULER_CONNECTION_STRING: schedulerConnection
}
var ready = union(scheduled ? {
  durable: 1
} : {}, alwaysReady)

var plain = [for one in items(union(settings, scheduled ? schedulerSettings : {}, extraSettings)): {
  name: one.key
  value: string(one.value)
}]
// By address and without a version: a new one is taken up within a day, or when hooks.py asks for it.
var vaulted = [for one in union(['SWITCHYARD_SIGNING_KEY'], secrets): {
  name: one
  value: '@Microsoft.KeyVault(SecretUri=${vaultUri}secrets/${toLower(replace(one, '_', '-'))})'
}]

resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageName
}

resource plan 'Microsoft.Web/serverfarms@2024-11-01' = {
  // checkov:skip=CKV_AZURE_225: a parameter, which prod.bicepparam sets; not every region has zones
  name: planName
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
    zoneRedundant: zoneRedundant
  }
}

resource app 'Microsoft.Web/sites@2024-11-01' = {
  // checkov:skip=CKV_AZURE_222: people answer from their phones, and Event Grid and pipelines come from outside; each door has a key, a signature or a sign-in
  // checkov:skip=CKV_AZURE_17: people have no client certificates
  // checkov:skip=CKV_AZURE_212: the platform scales from zero; alwaysReady keeps instances
  // checkov:skip=CKV_AZURE_213: Flex Consumption replaces instances itself; the alert "heartbeat" says when nothing runs
  name: name
  location: location
  tags: union(tags, {
    'azd-service-name': 'switchyard'
  })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    keyVaultReferenceIdentity: identityId
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}switchyard-package'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstances
        alwaysReady: [for one in items(ready): {
          name: one.key
          instanceCount: one.value
        }]
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      appSettings: concat(plain, vaulted)
    }
  }
}

// The package comes with a token of whoever deploys: no password opens the app.
resource scm 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource ftp 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

// People sign in, behind the links of messages too: the app takes nobody's word but that of App Service, and behind a path that is
// left out here there is none. Left out are what has keys of its own (webhooks of the host, the pulse) and style sheets.
resource signIn 'Microsoft.Web/sites/config@2024-11-01' = if (signsIn) {
  // checkov:skip=CKV_AZURE_13: this is the sign-in; the check looks for its older form
  // checkov:skip=CKV_AZURE_222: a check of the app, whose reason stands there
  // checkov:skip=CKV_AZURE_63: a check of the settings "logs"; requests are in Application Insights
  // checkov:skip=CKV_AZURE_65: the same; a page with details of an error is for nobody outside
  // checkov:skip=CKV_AZURE_66: the same; failed requests are in Application Insights too
  // checkov:skip=CKV_AZURE_80: no .NET here
  // checkov:skip=CKV_AZURE_88: the package lies in a blob container, and nothing writes files
  parent: app
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
    }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'RedirectToLoginPage'
      redirectToProvider: 'azureactivedirectory'
      excludedPaths: [
        '/runtime/webhooks/*'
        '/static/*'
        '/api/health'
      ]
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: signInClientId
          openIdIssuer: '${environment().authentication.loginEndpoint}${tenant().tenantId}/v2.0'
        }
        validation: {
          allowedAudiences: [
            signInClientId
            'api://${signInClientId}'
          ]
        }
      }
    }
    login: {
      tokenStore: {
        enabled: false // who somebody is comes in a header; their tokens are of no use here
      }
    }
    httpSettings: {
      requireHttps: true
    }
  }
}

output id string = app.id
output name string = app.name
output hostName string = app.properties.defaultHostName
