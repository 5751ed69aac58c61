// Ways in for whoever has a network of his own: the workspace and what it stands on, in one subnet.

param name string
param location string
param tags object
param subnetId string
param dnsZonesResourceGroupId string
param workspaceId string
param storageId string
param vaultId string
param imagesId string

var zones = '${dnsZonesResourceGroupId}/providers/Microsoft.Network/privateDnsZones'

var doors = [
  {
    name: 'workspace'
    id: workspaceId
    group: 'amlworkspace'
    zones: [
      { privateDnsZoneResourceId: '${zones}/privatelink.api.azureml.ms' }
      { privateDnsZoneResourceId: '${zones}/privatelink.notebooks.azure.net' }
    ]
  }
  {
    name: 'blob'
    id: storageId
    group: 'blob'
    zones: [
      { privateDnsZoneResourceId: '${zones}/privatelink.blob.${environment().suffixes.storage}' }
    ]
  }
  {
    name: 'file'
    id: storageId
    group: 'file'
    zones: [
      { privateDnsZoneResourceId: '${zones}/privatelink.file.${environment().suffixes.storage}' }
    ]
  }
  {
    name: 'vault'
    id: vaultId
    group: 'vault'
    zones: [
      { privateDnsZoneResourceId: '${zones}/privatelink.vaultcore.azure.net' }
    ]
  }
  {
    name: 'images'
    id: imagesId
    group: 'registry'
    zones: [
      { privateDnsZoneResourceId: '${zones}/privatelink.azurecr.io' }
    ]
  }
]

module endpoint 'br/public:avm/res/network/private-endpoint:0.11.0' = [
  for door in doors: {
    name: 'private-endpoint-${door.name}'
    params: {
      name: 'pep-${name}-${door.name}'
      location: location
      tags: tags
      enableTelemetry: false
      subnetResourceId: subnetId
      privateLinkServiceConnections: [
        {
          name: door.name
          properties: {
            privateLinkServiceId: door.id
            groupIds: [door.group]
          }
        }
      ]
      privateDnsZoneGroup: empty(dnsZonesResourceGroupId) ? null : { privateDnsZoneGroupConfigs: door.zones }
    }
  }
]
