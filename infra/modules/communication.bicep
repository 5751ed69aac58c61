metadata description = 'Communication Services: mail from a domain that Azure manages. A number for SMS is rented by hand: infra/README.md.'

param name string
param emailName string
param tags object
param principalId string

@description('Where messages are kept at rest')
param dataLocation string

var communicationAndEmailServiceOwner = '09976791-48a7-449e-bb21-39d1a415f350'

resource mail 'Microsoft.Communication/emailServices@2023-04-01' = {
  name: emailName
  location: 'global'
  tags: tags
  properties: {
    dataLocation: dataLocation
  }
}

resource domain 'Microsoft.Communication/emailServices/domains@2023-04-01' = {
  parent: mail
  name: 'AzureManagedDomain' // five mails a minute, ten an hour; a domain of yours has more
  location: 'global'
  tags: tags
  properties: {
    domainManagement: 'AzureManaged'
    userEngagementTracking: 'Disabled'
  }
}

resource service 'Microsoft.Communication/communicationServices@2023-04-01' = {
  name: name
  location: 'global'
  tags: tags
  properties: {
    dataLocation: dataLocation
    linkedDomains: [domain.id]
  }
}

resource role 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: service
  name: guid(service.id, principalId, communicationAndEmailServiceOwner)
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', communicationAndEmailServiceOwner)
    principalId: principalId
    principalType: 'ServicePrincipal'
    description: 'Mail and SMS are sent by identity'
  }
}

output endpoint string = 'https://${service.properties.hostName}'
output sender string = 'DoNotReply@${domain.properties.fromSenderDomain}'
