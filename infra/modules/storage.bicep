metadata description = 'The storage account of the app: the queues, the record, the archive, the package. Nobody has a key.'

param name string
param location string
param tags object

@description('Whether it answers only within the virtual network, and to Event Grid')
param privateNetwork bool

@allowed(['Standard_LRS', 'Standard_ZRS', 'Standard_GRS', 'Standard_GZRS'])
param sku string

@description('Days for which a deleted blob, container or version can be had back')
param recoverDays int

// The host makes a poison queue at its first message. Made here, so that the first look into it is not an error.
var queueNames = [
  'switchyard-events' // filled by Event Grid, read by on_queued_event
  'switchyard-events-poison'
  'switchyard-work' // what arrived, waits or is to be done: on_message
  'switchyard-work-poison'
  'switchyard-rollouts' // rollouts that begin, or that somebody spoke to: on_rollout
  'switchyard-rollouts-poison'
]
var containerNames = [
  'switchyard-config' // what SWITCHYARD_CONFIG names
  'switchyard-archive' // an append blob a day
  'switchyard-deadletter' // what Event Grid could not deliver
  'switchyard-package' // the deployed code
]

var others = privateNetwork ? 'Deny' : 'Allow'

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  // checkov:skip=CKV_AZURE_59: closed by the firewall where privateNetwork is true. Else the identities of Event Grid and of the host come by its public address; nobody has a key, and no blob is public
  // checkov:skip=CKV_AZURE_35: the same; defaultAction is Deny where privateNetwork is true
  // checkov:skip=CKV_AZURE_43: the name is a parameter, st and a hash in main.bicep; what the check takes it for differs from run to run
  // checkov:skip=CKV_AZURE_206: the copies are a parameter, and prod.bicepparam asks for other zones
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: sku
  }
  properties: {
    accessTier: 'Hot'
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: 'Enabled'
    networkAcls: {
      // Event Grid delivers from outside of the network: with its system-assigned identity, as a trusted service.
      bypass: 'AzureServices'
      defaultAction: others
    }
    encryption: {
      requireInfrastructureEncryption: true
      keySource: 'Microsoft.Storage'
      services: {
        blob: {
          enabled: true
          keyType: 'Account'
        }
        queue: {
          enabled: true
          keyType: 'Account'
        }
        table: {
          enabled: true
          keyType: 'Account'
        }
      }
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: account
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: recoverDays
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: recoverDays
    }
  }
}

resource containers 'Microsoft.Storage/storageAccounts/blobServices/containers@2024-01-01' = [for container in containerNames: {
  parent: blobs
  name: container
  properties: {
    publicAccess: 'None'
  }
}]

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2024-01-01' = {
  parent: account
  name: 'default'
}

resource named 'Microsoft.Storage/storageAccounts/queueServices/queues@2024-01-01' = [for queue in queueNames: {
  parent: queues
  name: queue
}]

// Tables are made by the service at their first use: its identity may write tables anyway.

output id string = account.id
output name string = account.name
output blobEndpoint string = account.properties.primaryEndpoints.blob
