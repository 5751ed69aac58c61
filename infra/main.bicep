metadata description = 'Switchyard in a resource group of its own, for workspaces that are there. Event subscriptions follow when the code is deployed: hooks.py.'

targetScope = 'subscription'

@description('Names everything: dev, test, prod, or what azd calls the environment')
@minLength(1)
@maxLength(32)
param environmentName string

@description('Where everything of the service stands; topics stand with their sources')
param location string

@description('prod refuses a person as the deployer')
@allowed(['dev', 'test', 'prod'])
param stage string = 'dev'

@description('Who deploys: may put the configuration into its container. Empty: nobody')
param deployerPrincipalId string = ''

@allowed(['User', 'Group', 'ServicePrincipal'])
param deployerPrincipalType string = 'User'

@description('Workspaces whose events arrive, and where the service acts: {id: ARM id, topic: ARM id of their system topic where they have one}')
param workspaces array

@description('Storage accounts whose new blobs are events, in the same form')
param storageAccounts array = []

@description('ARM ids of blob containers that the service reads: model quality')
param readContainers array = []

@description('ARM ids of Log Analytics workspaces that the service asks: model quality')
param readLogs array = []

@description('ARM ids of Event Grid topics that the service publishes to; the first hears of rollouts')
param publishTopics array = []

@description('Names of settings that are secrets: ${NAME} in the configuration, GITHUB_TOKEN and the like')
param secrets array = []

@description('Settings beside those of modules/app.bicep')
param extraSettings object = {}

@description('container: rules are edited without a deployment. package: what is in config/ of the deployed code')
@allowed(['container', 'package'])
param configuration string = 'container'

@description('Where links in messages lead; empty: the address of the app')
param publicUrl string = ''

@description('Hosts that actions may call; empty: any public one')
param allowedHosts array = []

@description('Hosts or networks that may be private addresses')
param privateHosts array = []

@description('Repositories that actions may start workflows in; empty: any')
param githubRepos array = []

@description('How much is taken on at most, by name: payload_levels, answer_bytes and others of docs/security.md')
param limits object = {}

@description('Where rollouts wait: storage, or the Durable Task Scheduler')
@allowed(['storage', 'scheduler'])
param durable string = 'storage'

@allowed(['Consumption', 'Dedicated'])
param schedulerSku string = 'Consumption'

@description('Mail and SMS by Communication Services')
param communication bool = true

@description('Where Communication Services keep messages at rest')
param communicationData string = 'Europe'

@description('The number that SMS come from, rented by hand; empty: no SMS')
param smsFrom string = ''

@description('Application id that people sign in to; empty: function keys')
param signInClientId string = ''

@description('Whether a change asks for a role of that application: Switchyard.Operator, Switchyard.Approver')
param signInRoles bool = false

@description('The app in a virtual network, storage and vault closed to all others')
param privateNetwork bool = false
param networkPrefix string = '10.71.0.0/24'
param networkAppPrefix string = '10.71.0.0/26'
param networkEndpointsPrefix string = '10.71.0.64/26'

@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param storageSku string = 'Standard_LRS'

@description('Days for which a deleted blob can be had back')
param recoverDays int = 7

@description('Days for which logs and telemetry are kept')
@allowed([30, 60, 90, 120, 180, 270, 365])
param keepDays int = 30

@allowed([2048, 4096])
param instanceMemoryMB int = 2048
param maximumInstances int = 40

@description('Instances in more than one zone; needs a storageSku with zones')
param zoneRedundant bool = false

@description('Instances that are always there, by scaling group: {http: 1}')
param alwaysReady object = {}

@description('Who hears of alerts and of the budget')
@minLength(1)
param emails array

@description('A month, in the currency of the subscription')
param budget int = 50

@description('Messages in all queues above which somebody should look')
param queuedMessages int = 5000

var token = toLower(uniqueString(subscription().id, environmentName, location))
var tags = {
  'azd-env-name': environmentName
  stage: stage
}
var appName = 'func-switchyard-${token}'
var storageName = 'st${token}'
var vaultName = 'kv-${token}'

// What the environment left empty is not there.
var watched = filter(workspaces, one => !empty(one.id))
var accounts = filter(storageAccounts, one => !empty(one.id))
var secretNames = filter(secrets, one => !empty(one))
var newWorkspaces = filter(watched, one => empty(one.?topic ?? ''))
var knownWorkspaces = filter(watched, one => !empty(one.?topic ?? ''))
var newAccounts = filter(accounts, one => empty(one.?topic ?? ''))
var knownAccounts = filter(accounts, one => !empty(one.?topic ?? ''))
var unknown = concat(newWorkspaces, newAccounts)
var known = concat(knownWorkspaces, knownAccounts)

var sourceIds = [for one in concat(watched, accounts): one.id]
var topicNames = [for one in unknown: 'evgt-${last(split(one.id, '/'))}-${uniqueString(toLower(one.id))}']
var groupName = 'rg-switchyard-${environmentName}'
var topicsOfGroup = '${subscription().id}/resourceGroups/${groupName}/providers/Microsoft.EventGrid/systemTopics'
var knownPairs = [for one in known: '${one.id}|${one.topic}']
var newPairs = [for (one, at) in unknown: '${one.id}|${topicsOfGroup}/${topicNames[at]}']

// A person has a role outside of production only; there, a pipeline. prod.bicep refuses what this leaves out.
var deploys = !empty(deployerPrincipalId) && (stage != 'prod' || deployerPrincipalType == 'ServicePrincipal')

resource group 'Microsoft.Resources/resourceGroups@2024-03-01' = {
  name: groupName
  location: location
  tags: tags
}

module prod 'modules/prod.bicep' = if (stage == 'prod') {
  name: 'prod'
  scope: group
  params: {
    deployerPrincipalType: any(deployerPrincipalType) // known here as one of three words; the module takes one
  }
}

module identity 'modules/identity.bicep' = {
  name: 'identity'
  scope: group
  params: {
    name: 'id-switchyard-${token}'
    location: location
    tags: tags
  }
}

module monitoring 'modules/monitoring.bicep' = {
  name: 'monitoring'
  scope: group
  params: {
    logsName: 'log-${token}'
    insightsName: 'appi-${token}'
    location: location
    tags: tags
    keepDays: keepDays
  }
}

module storage 'modules/storage.bicep' = {
  name: 'storage'
  scope: group
  params: {
    name: storageName
    location: location
    tags: tags
    privateNetwork: privateNetwork
    sku: storageSku
    recoverDays: recoverDays
  }
}

module vault 'modules/vault.bicep' = {
  name: 'vault'
  scope: group
  params: {
    name: vaultName
    location: location
    tags: tags
    privateNetwork: privateNetwork
    logsId: monitoring.outputs.logsId
  }
}

module network 'modules/network.bicep' = if (privateNetwork) {
  name: 'network'
  scope: group
  params: {
    name: 'vnet-${token}'
    location: location
    tags: tags
    addressPrefix: networkPrefix
    appPrefix: networkAppPrefix
    endpointsPrefix: networkEndpointsPrefix
    storageId: storage.outputs.id
    vaultId: vault.outputs.id
  }
}

module roles 'modules/roles.bicep' = {
  name: 'roles'
  scope: group
  params: {
    principalId: identity.outputs.principalId
    storageName: storage.outputs.name
    vaultName: vault.outputs.name
    insightsName: monitoring.outputs.insightsName
  }
}

module deployer 'modules/deployer.bicep' = if (deploys) {
  name: 'deployer'
  scope: group
  params: {
    principalId: deployerPrincipalId
    principalType: deployerPrincipalType
    storageName: storage.outputs.name
  }
}

module scheduler 'modules/scheduler.bicep' = if (durable == 'scheduler') {
  name: 'scheduler'
  scope: group
  params: {
    name: 'dts-${token}'
    location: location
    tags: tags
    principalId: identity.outputs.principalId
    clientId: identity.outputs.clientId
    sku: schedulerSku
  }
}

module messages 'modules/communication.bicep' = if (communication) {
  name: 'communication'
  scope: group
  params: {
    name: 'acs-${token}'
    emailName: 'mail-${token}'
    tags: tags
    principalId: identity.outputs.principalId
    dataLocation: communicationData
  }
}

module publishes 'modules/publish.bicep' = [for (topic, at) in publishTopics: {
  name: 'switchyard-publish-${token}-${at}'
  scope: resourceGroup(split(topic, '/')[2], split(topic, '/')[4])
  params: {
    topicName: last(split(topic, '/'))
    principalId: identity.outputs.principalId
  }
}]

module readsBlobs 'modules/read-blobs.bicep' = [for (container, at) in readContainers: {
  name: 'switchyard-blobs-${token}-${at}'
  scope: resourceGroup(split(container, '/')[2], split(container, '/')[4])
  params: {
    accountName: split(container, '/')[8]
    containerName: last(split(container, '/'))
    principalId: identity.outputs.principalId
  }
}]

module readsLogs 'modules/read-logs.bicep' = [for (logs, at) in readLogs: {
  name: 'switchyard-logs-${token}-${at}'
  scope: resourceGroup(split(logs, '/')[2], split(logs, '/')[4])
  params: {
    workspaceName: last(split(logs, '/'))
    principalId: identity.outputs.principalId
  }
}]

module app 'modules/app.bicep' = {
  name: 'app'
  scope: group
  params: {
    name: appName
    planName: 'plan-${token}'
    location: location
    tags: tags
    identityId: identity.outputs.id
    identityClientId: identity.outputs.clientId
    storageName: storage.outputs.name
    vaultUri: vault.outputs.uri
    insightsConnectionString: monitoring.outputs.connectionString
    subnetId: privateNetwork ? network!.outputs.appSubnetId : ''
    configuration: configuration == 'container' ? '${storage.outputs.blobEndpoint}switchyard-config' : 'config'
    publicUrl: empty(publicUrl) ? 'https://${appName}.azurewebsites.net' : publicUrl
    secrets: secretNames
    sources: sourceIds
    allowedHosts: allowedHosts
    privateHosts: privateHosts
    githubRepos: githubRepos
    limits: limits
    topicEndpoint: empty(publishTopics) ? '' : publishes[0].outputs.endpoint
    acsEndpoint: communication ? messages!.outputs.endpoint : ''
    acsSender: communication ? messages!.outputs.sender : ''
    acsSmsFrom: smsFrom
    schedulerConnection: durable == 'scheduler' ? scheduler!.outputs.connection : ''
    extraSettings: extraSettings
    signInClientId: signInClientId
    signInRoles: signInRoles
    instanceMemoryMB: instanceMemoryMB
    maximumInstances: maximumInstances
    zoneRedundant: zoneRedundant
    alwaysReady: alwaysReady
  }
  dependsOn: [roles] // the host can't start without its storage
}

module alerts 'modules/alerts.bicep' = {
  name: 'alerts'
  scope: group
  params: {
    name: 'switchyard-${environmentName}'
    location: location
    tags: tags
    insightsId: monitoring.outputs.insightsId
    storageId: storage.outputs.id
    emails: emails
    queuedMessages: queuedMessages
  }
}

module money 'modules/budget.bicep' = {
  name: 'budget'
  scope: group
  params: {
    name: 'switchyard-${environmentName}'
    amount: budget
    emails: emails
  }
}

module works 'modules/workspace.bicep' = [for (one, at) in watched: {
  name: 'switchyard-${token}-${at}'
  scope: resourceGroup(split(one.id, '/')[2], split(one.id, '/')[4])
  params: {
    workspaceName: last(split(one.id, '/'))
    principalId: identity.outputs.principalId
  }
}]

module places 'modules/place.bicep' = [for (one, at) in unknown: {
  name: 'switchyard-place-${token}-${at}'
  scope: resourceGroup(split(one.id, '/')[2], split(one.id, '/')[4])
  params: {
    sourceId: one.id
  }
}]

module topics 'modules/topic.bicep' = [for (one, at) in unknown: {
  name: 'topic-${at}'
  scope: group
  params: {
    name: topicNames[at]
    location: places[at].outputs.location
    tags: tags
    sourceId: one.id
    topicType: at < length(newWorkspaces) ? 'Microsoft.MachineLearningServices.Workspaces' : 'Microsoft.Storage.StorageAccounts'
    logsId: monitoring.outputs.logsId
  }
}]

module deliveries 'modules/delivery.bicep' = [for (one, at) in unknown: {
  name: 'delivery-${at}'
  scope: group
  params: {
    topicId: topics[at].outputs.id
    principalId: topics[at].outputs.principalId
    storageName: storage.outputs.name
    actionGroupId: alerts.outputs.actionGroupId
    tags: tags
  }
}]

module knownTopics 'modules/known-topic.bicep' = [for (one, at) in known: {
  name: 'switchyard-topic-${token}-${at}'
  scope: resourceGroup(split(one.topic, '/')[2], split(one.topic, '/')[4])
  params: {
    name: last(split(one.topic, '/'))
  }
}]

module knownDeliveries 'modules/delivery.bicep' = [for (one, at) in known: {
  name: 'known-delivery-${at}'
  scope: group
  params: {
    topicId: one.topic
    principalId: knownTopics[at].outputs.principalId
    storageName: storage.outputs.name
    actionGroupId: alerts.outputs.actionGroupId
    tags: tags
  }
}]

output AZURE_ENV_NAME string = environmentName
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_FUNCTION_APP_NAME string = app.outputs.name
output SWITCHYARD_URL string = 'https://${app.outputs.hostName}'

@description('What `switchyard` asks a token for, where people sign in')
output SWITCHYARD_SCOPE string = empty(signInClientId) ? '' : 'api://${signInClientId}/.default'
output SWITCHYARD_STORAGE_ID string = storage.outputs.id
output SWITCHYARD_VAULT_ID string = vault.outputs.id
output SWITCHYARD_CONFIGURATION string = configuration
output SWITCHYARD_SECRETS string = join(secretNames, ' ')

@description('What hooks.py subscribes to: source|topic of each, both ARM ids')
output SWITCHYARD_TOPICS string = join(concat(knownPairs, newPairs), ' ')
