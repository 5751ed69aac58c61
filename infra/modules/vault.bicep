metadata description = 'The secrets of the service. Their values come in behind the template: see infra/README.md.'

param name string
param location string
param tags object
param privateNetwork bool
param logsId string

var access = privateNetwork ? 'Disabled' : 'Enabled'
var others = privateNetwork ? 'Deny' : 'Allow'

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  // checkov:skip=CKV_AZURE_189: closed where privateNetwork is true; the app needs no public address then
  // checkov:skip=CKV_AZURE_109: the same; defaultAction is Deny then
  name: name
  location: location
  tags: tags
  properties: {
    tenantId: subscription().tenantId
    sku: {
      family: 'A'
      name: 'standard'
    }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: access
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: others
    }
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'audit'
  properties: {
    workspaceId: logsId
    logs: [
      {
        category: 'AuditEvent' // who read which secret
        enabled: true
      }
    ]
  }
}

output id string = vault.id
output name string = vault.name
output uri string = vault.properties.vaultUri
