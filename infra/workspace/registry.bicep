// The model registry that dev and prod share: dev publishes to it, prod takes from it. Who may is said by the environments
// themselves (modules/registry-access.bicep), so a new one needs no change here.
targetScope = 'subscription'

@description('The name by which everybody refers to it: azureml://registries/NAME/models/...')
@minLength(2)
@maxLength(32)
param name string

@description('The primary location. It cannot be changed later.')
param location string

@description('Further locations that have workspaces. They may be added later.')
param locations array = []

@description('Who answers for it: a mail address, kept as a tag.')
param owner string

@description('How long is kept who read and wrote which model, in days.')
@minValue(30)
@maxValue(730)
param logDays int = 90

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: 'rg-${name}'
  location: location
  tags: {
    owner: owner
    'managed-by': 'infra/workspace'
  }
}

module registry 'modules/registry.bicep' = {
  name: 'registry'
  scope: group
  params: {
    name: name
    location: location
    locations: union([location], locations)
    owner: owner
    days: logDays
  }
}

output subscription string = subscription().subscriptionId
output resourceGroup string = group.name
output name string = registry.outputs.name
