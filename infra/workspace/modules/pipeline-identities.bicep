// The two identities of pipeline.bicep. Each trusts one subject: a job that runs in that environment of the repository.

param stage string
param location string
param issuer string
param subject string
param planSubject string

resource deploys 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'workspaces-${stage}'
  location: location
}

resource deploysTrusts 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2023-01-31' = {
  parent: deploys
  name: 'pipeline'
  properties: {
    issuer: issuer
    subject: subject
    audiences: ['api://AzureADTokenExchange']
  }
}

resource plans 'Microsoft.ManagedIdentity/userAssignedIdentities@2023-01-31' = {
  name: 'workspaces-${stage}-plan'
  location: location
}

resource plansTrusts 'Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials@2023-01-31' = {
  parent: plans
  name: 'pipeline'
  properties: {
    issuer: issuer
    subject: planSubject
    audiences: ['api://AzureADTokenExchange']
  }
}

output deployPrincipalId string = deploys.properties.principalId
output deployClientId string = deploys.properties.clientId
output planPrincipalId string = plans.properties.principalId
output planClientId string = plans.properties.clientId
