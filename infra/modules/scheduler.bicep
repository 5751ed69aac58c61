metadata description = 'The Durable Task Scheduler: where rollouts wait, instead of the storage account.'

param name string
param location string
param tags object
param principalId string
param clientId string

@allowed(['Consumption', 'Dedicated'])
param sku string

var durableTaskDataContributor = '0ad04412-c4d5-4796-b79c-f76d14c8d402'

resource scheduler 'Microsoft.DurableTask/schedulers@2025-11-01' = {
  name: name
  location: location
  tags: tags
  properties: {
    sku: {
      name: sku
    }
    ipAllowlist: ['0.0.0.0/0'] // an empty list lets nobody in; who comes signs in by identity
  }
}

// The name is that of host.json (extensions.durableTask.hubName).
resource hub 'Microsoft.DurableTask/schedulers/taskHubs@2025-11-01' = {
  parent: scheduler
  name: 'SwitchyardRollouts'
}

resource role 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hub
  name: guid(hub.id, principalId, durableTaskDataContributor)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', durableTaskDataContributor)
    principalId: principalId
    principalType: 'ServicePrincipal'
    description: 'Durable Functions: rollouts begin, wait and go on'
  }
}

output connection string = 'Endpoint=${scheduler.properties.endpoint};Authentication=ManagedIdentity;ClientID=${clientId}'
