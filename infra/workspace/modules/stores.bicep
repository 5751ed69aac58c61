// What a workspace stands on: storage without keys, a vault by roles, a container registry without an admin user.

param name string
param location string
param tags object
param stage string

@description('Enabled or Disabled: whether the Internet reaches them.')
param publicNetworkAccess string

@description('Whether private endpoints lead here: the workspace\'s managed network makes its own.')
param isolated bool

var short = replace(name, '-', '')
var unique = uniqueString(subscription().id, name)
var others = publicNetworkAccess == 'Enabled' ? 'Allow' : 'Deny'
var keep = stage == 'prod' ? 30 : 7

resource storage 'Microsoft.Storage/storageAccounts@2024-01-01' = {
  // checkov:skip=CKV_AZURE_35: publicAccess decides: open to the Internet for whoever has a token and a role, or closed behind private endpoints
  // checkov:skip=CKV_AZURE_206: replicated over zones in prod; dev can be made anew
  // checkov:skip=CKV_AZURE_43: the name is made of checked parts, cut to 24
  name: take('st${short}${unique}', 24)
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    name: stage == 'prod' ? 'Standard_ZRS' : 'Standard_LRS'
  }
  properties: {
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: publicNetworkAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: others
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2024-01-01' = {
  parent: storage
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: keep
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: keep
    }
  }
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  // checkov:skip=CKV_AZURE_109: publicAccess decides: open to the Internet for whoever has a token and a role, or closed behind private endpoints
  // checkov:skip=CKV_AZURE_189: publicAccess decides: open to the Internet for whoever has a token and a role, or closed behind private endpoints
  name: take('kv-${name}-${unique}', 24)
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
    softDeleteRetentionInDays: stage == 'prod' ? 90 : 7
    enablePurgeProtection: true
    publicNetworkAccess: publicNetworkAccess
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: others
    }
  }
}

resource images 'Microsoft.ContainerRegistry/registries@2023-07-01' = {
  // checkov:skip=CKV_AZURE_139: publicAccess decides: open to the Internet for whoever has a token and a role, or closed behind private endpoints
  // checkov:skip=CKV_AZURE_163: scanning is a plan of Defender for Cloud, of the subscription
  // checkov:skip=CKV_AZURE_166: quarantine would hold back images that the workspace has just built for a job that waits
  name: take('cr${short}${unique}', 50)
  location: location
  tags: tags
  sku: {
    // Private endpoints are a thing of Premium, for three times the price.
    name: isolated ? 'Premium' : 'Standard'
  }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
    publicNetworkAccess: publicNetworkAccess
    networkRuleBypassOptions: 'AzureServices'
  }
}

// Nobody deletes these by mistake. The resource group has no lock: it would hold for deployments of endpoints too, and a rollout
// that cannot delete the one it replaced is stuck.
resource storageLock 'Microsoft.Authorization/locks@2020-05-01' = if (stage == 'prod') {
  name: 'keep'
  scope: storage
  properties: {
    level: 'CanNotDelete'
    notes: 'Models, data and records of production.'
  }
}

resource vaultLock 'Microsoft.Authorization/locks@2020-05-01' = if (stage == 'prod') {
  name: 'keep'
  scope: vault
  properties: {
    level: 'CanNotDelete'
    notes: 'Secrets of production.'
  }
}

output storageName string = storage.name
output storageId string = storage.id
output vaultName string = vault.name
output vaultId string = vault.id
output imagesName string = images.name
output imagesId string = images.id
