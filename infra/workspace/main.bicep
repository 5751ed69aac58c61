// One environment of one project: a workspace for machine learning and what it stands on. `README.md` beside this file says what
// comes of it. All of an environment is in its parameter file, environments/PROJECT-STAGE.bicepparam.
targetScope = 'subscription'

@description('The project: small letters and digits, a letter first. Names of resources are made of it.')
@minLength(2)
@maxLength(10)
param project string

@description('Persons work in dev. In test and prod there is no role for a person and no compute instance.')
@allowed(['dev', 'test', 'prod'])
param stage string

@description('Where everything is, the model registry replicated to it included.')
param location string

@description('Who answers for it: a mail address, kept as a tag.')
param owner string

@description('Further tags of every resource.')
param tags object = {}

@description('The model registry that the stages of a project share: subscription, resourceGroup, name. Dev publishes, the others read.')
param registry registryType

@description('Object id of the service principal by which the project\'s own pipeline submits jobs, registers and deploys.')
@minLength(36)
@maxLength(36)
param pipelinePrincipalId string

@description('Object id of the identity of Switchyard\'s function app. Empty until the app is there.')
param switchyardPrincipalId string = ''

@description('Object ids of Entra groups of persons. Dev only.')
param dataScientists array = []

@description('One instance for each person: name (small letters and digits, 10 at most), objectId, and vmSize where it differs. Dev only.')
param computeInstances array = []

@description('The size of the nodes of cpu-cluster.')
param clusterSize string = 'Standard_DS3_v2'

@description('Nodes of cpu-cluster at most. None runs while there is no job.')
@minValue(1)
@maxValue(100)
param clusterNodes int = 4

@description('How long a node of cpu-cluster waits for the next job, as an ISO 8601 duration.')
param clusterIdle string = 'PT15M'

@description('Nodes that Azure may take away at any time, for about a fifth of the price.')
param clusterLowPriority bool = false

@description('The size of a compute instance that names none of its own.')
param instanceSize string = 'Standard_DS3_v2'

@description('How long a compute instance may be idle before it stops, as an ISO 8601 duration.')
param instanceIdle string = 'PT1H'

@description('The network that Azure Machine Learning manages for computes and endpoints. Once it is not Disabled it cannot be taken back.')
@allowed(['Disabled', 'AllowInternetOutbound', 'AllowOnlyApprovedOutbound'])
param isolation string = 'Disabled'

@description('Where computes may go under AllowOnlyApprovedOutbound, beside what the workspace needs itself: outboundRules of the workspace.')
param outboundRules object = {}

@description('Whether workspace, storage, vault and container registry can be reached from the Internet (always with a token). False needs subnetId.')
param publicAccess bool = true

@description('A subnet for private endpoints of all of them. Empty: none.')
param subnetId string = ''

@description('The resource group that has the private DNS zones of Azure. Empty: the names are yours to resolve.')
param dnsZonesResourceGroupId string = ''

@description('How long logs are kept, in days.')
@minValue(30)
@maxValue(730)
param logDays int = 30

@description('GB of logs a day after which no more is taken in; -1: no limit. Reached, it blinds the judge, and what nobody knows goes back.')
param logCapGb int = -1

// `subscription` is an id.
type registryType = {
  subscription: string
  resourceGroup: string
  name: string
}

var name = '${project}-${stage}'
var marks = union(tags, { project: project, stage: stage, owner: owner, 'managed-by': 'infra/workspace' })

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: 'rg-${name}'
  location: location
  tags: marks
}

// Where nobody works, a file with persons is refused before anything is made.
module refuses 'modules/refuses.bicep' = {
  name: 'refuses-of-${name}'
  scope: group
  params: {
    personsOutsideDev: stage == 'dev' ? [] : concat(dataScientists, computeInstances)
    closedWithoutSubnet: !publicAccess && empty(subnetId)
  }
}

module logs 'modules/logs.bicep' = {
  name: 'logs'
  scope: group
  params: {
    name: name
    location: location
    tags: marks
    days: logDays
    capGb: logCapGb
  }
}

module stores 'modules/stores.bicep' = {
  name: 'stores'
  scope: group
  params: {
    name: name
    location: location
    tags: marks
    stage: stage
    publicNetworkAccess: publicAccess ? 'Enabled' : 'Disabled'
    isolated: isolation != 'Disabled' || !empty(subnetId)
  }
}

module workspace 'modules/workspace.bicep' = {
  name: 'workspace'
  scope: group
  params: {
    name: name
    location: location
    tags: marks
    storageName: stores.outputs.storageName
    vaultName: stores.outputs.vaultName
    imagesName: stores.outputs.imagesName
    insightsName: logs.outputs.insightsName
    analyticsName: logs.outputs.analyticsName
    publicAccess: publicAccess
    isolation: isolation
    outboundRules: outboundRules
  }
}

module privateEndpoints 'modules/private-endpoints.bicep' = if (!empty(subnetId)) {
  name: 'private-endpoints'
  scope: group
  params: {
    name: name
    location: location
    tags: marks
    subnetId: subnetId
    dnsZonesResourceGroupId: dnsZonesResourceGroupId
    workspaceId: workspace.outputs.id
    storageId: stores.outputs.storageId
    vaultId: stores.outputs.vaultId
    imagesId: stores.outputs.imagesId
  }
}

module compute 'modules/compute.bicep' = {
  name: 'compute'
  scope: group
  params: {
    project: project
    name: name
    location: location
    tags: marks
    workspaceName: workspace.outputs.name
    storageName: stores.outputs.storageName
    imagesName: stores.outputs.imagesName
    clusterSize: clusterSize
    clusterNodes: clusterNodes
    clusterIdle: clusterIdle
    clusterLowPriority: clusterLowPriority
    instances: computeInstances
    instanceSize: instanceSize
    instanceIdle: instanceIdle
    publicIp: isolation == 'Disabled'
  }
}

module access 'modules/access.bicep' = {
  name: 'access'
  scope: group
  params: {
    workspaceName: workspace.outputs.name
    storageName: stores.outputs.storageName
    analyticsName: logs.outputs.analyticsName
    pipelinePrincipalId: pipelinePrincipalId
    switchyardPrincipalId: switchyardPrincipalId
    persons: dataScientists
  }
}

module registryAccess 'modules/registry-access.bicep' = {
  name: 'registry-of-${name}'
  scope: resourceGroup(registry.subscription, registry.resourceGroup)
  params: {
    registryName: registry.name
    publishes: stage == 'dev'
    pipelinePrincipalId: pipelinePrincipalId
    jobsPrincipalId: compute.outputs.jobsPrincipalId
    persons: dataScientists
  }
}

// Endpoints are made later, by pipelines and by people. A policy sees each of them and gives it the setting that the judge reads by.
resource endpointLogs 'Microsoft.Authorization/policyDefinitions@2023-04-01' = {
  name: 'switchyard-endpoint-logs'
  properties: union(loadJsonContent('policies/endpoint-logs.json'), { policyType: 'Custom' })
}

module endpointLogsAssignment 'modules/endpoint-logs.bicep' = {
  name: 'endpoint-logs'
  scope: group
  params: {
    location: location
    definitionId: endpointLogs.id
    analyticsId: logs.outputs.analyticsId
  }
}

output resourceGroup string = group.name
output workspace string = workspace.outputs.name
output workspaceId string = workspace.outputs.id
output cluster string = compute.outputs.cluster
output storage string = stores.outputs.storageName
output logAnalyticsId string = logs.outputs.analyticsId
output endpointLogsAssignment string = endpointLogsAssignment.outputs.name
