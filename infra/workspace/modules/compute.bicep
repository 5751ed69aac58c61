// Where jobs run. The cluster costs nothing while there is no job; an instance belongs to one person, and stops when it is idle.

param project string
param name string
param location string
param tags object
param workspaceName string
param storageName string
param imagesName string
param clusterSize string
param clusterNodes int
param clusterIdle string
param clusterLowPriority bool
param instances array
param instanceSize string
param instanceIdle string
param publicIp bool

var storageBlobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var acrPull = '7f951dda-4ed3-4680-a7ca-43fe172d538d'

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-12-01' existing = {
  name: workspaceName
}

resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' existing = {
  name: storageName
}

resource images 'Microsoft.ContainerRegistry/registries@2023-07-01' existing = {
  name: imagesName
}

resource jobs 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'id-${name}-jobs'
  location: location
  tags: tags
}

resource jobsOnStorage 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, jobs.id, storageBlobDataContributor)
  scope: storage
  properties: {
    principalId: jobs.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', storageBlobDataContributor)
  }
}

resource jobsOnImages 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(images.id, jobs.id, acrPull)
  scope: images
  properties: {
    principalId: jobs.properties.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', acrPull)
  }
}

resource cluster 'Microsoft.MachineLearningServices/workspaces/computes@2025-12-01' = {
  parent: workspace
  name: 'cpu-cluster'
  location: location
  tags: tags
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${jobs.id}': {}
    }
  }
  properties: {
    computeType: 'AmlCompute'
    computeLocation: location
    disableLocalAuth: true
    properties: {
      osType: 'Linux'
      vmSize: clusterSize
      vmPriority: clusterLowPriority ? 'LowPriority' : 'Dedicated'
      remoteLoginPortPublicAccess: 'Disabled'
      enableNodePublicIp: publicIp
      scaleSettings: {
        minNodeCount: 0
        maxNodeCount: clusterNodes
        nodeIdleTimeBeforeScaleDown: clusterIdle
      }
    }
  }
}

// Without an identity of its own: its person's is used, and an instance with one would need more leave to stop itself.
resource instance 'Microsoft.MachineLearningServices/workspaces/computes@2025-12-01' = [
  for one in instances: {
    parent: workspace
    name: 'ci-${project}-${one.name}'
    location: location
    tags: tags
    properties: {
      computeType: 'ComputeInstance'
      computeLocation: location
      disableLocalAuth: true
      properties: {
        vmSize: one.?vmSize ?? instanceSize
        applicationSharingPolicy: 'Personal'
        computeInstanceAuthorizationType: 'personal'
        personalComputeInstanceSettings: {
          assignedUser: {
            objectId: one.objectId
            tenantId: subscription().tenantId
          }
        }
        idleTimeBeforeShutdown: instanceIdle
        enableNodePublicIp: publicIp
        sshSettings: {
          sshPublicAccess: 'Disabled'
        }
      }
    }
  }
]

output cluster string = cluster.name
output jobsPrincipalId string = jobs.properties.principalId
