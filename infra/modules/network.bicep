metadata description = 'A virtual network of its own: the app goes out through it, and finds storage and vault inside of it.'

param name string
param location string
param tags object
param addressPrefix string
param appPrefix string
param endpointsPrefix string
param storageId string
param vaultId string

var storageSuffix = environment().suffixes.storage
var vaultSuffix = replace(environment().suffixes.keyvaultDns, '.vault.', 'vaultcore.')

// The name of the service as private endpoints know it, and the zone in which its address stands.
var reached = [
  {
    group: 'blob'
    id: storageId
    zone: 'privatelink.blob.${storageSuffix}'
  }
  {
    group: 'queue'
    id: storageId
    zone: 'privatelink.queue.${storageSuffix}'
  }
  {
    group: 'table'
    id: storageId
    zone: 'privatelink.table.${storageSuffix}'
  }
  {
    group: 'vault'
    id: vaultId
    zone: 'privatelink.${vaultSuffix}'
  }
]

module network 'br/public:avm/res/network/virtual-network:0.10.1' = {
  name: 'network'
  params: {
    name: name
    location: location
    tags: tags
    addressPrefixes: [addressPrefix]
    subnets: [
      {
        name: 'app'
        addressPrefix: appPrefix
        delegation: 'Microsoft.App/environments' // what Flex Consumption asks for
      }
      {
        name: 'endpoints'
        addressPrefix: endpointsPrefix
        privateEndpointNetworkPolicies: 'Disabled'
      }
    ]
    enableTelemetry: false
  }
}

module zones 'br/public:avm/res/network/private-dns-zone:0.8.1' = [for one in reached: {
  name: 'zone-${one.group}'
  params: {
    name: one.zone
    tags: tags
    virtualNetworkLinks: [
      {
        virtualNetworkResourceId: network.outputs.resourceId
      }
    ]
    enableTelemetry: false
  }
}]

module endpoints 'br/public:avm/res/network/private-endpoint:0.12.1' = [for (one, at) in reached: {
  name: 'endpoint-${one.group}'
  params: {
    name: '${name}-${one.group}'
    location: location
    tags: tags
    subnetResourceId: network.outputs.subnetResourceIds[1]
    privateLinkServiceConnections: [
      {
        name: one.group
        properties: {
          privateLinkServiceId: one.id
          groupIds: [one.group]
        }
      }
    ]
    privateDnsZoneGroup: {
      privateDnsZoneGroupConfigs: [
        {
          privateDnsZoneResourceId: zones[at].outputs.resourceId
        }
      ]
    }
    enableTelemetry: false
  }
}]

output appSubnetId string = network.outputs.subnetResourceIds[0]
