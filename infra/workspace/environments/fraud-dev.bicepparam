// Where the fraud team works: notebooks, trials, training, and what is to become a candidate.
using '../main.bicep'

param project = 'fraud'
param stage = 'dev'
param location = 'japaneast'
param owner = 'fraud-leads@contoso.com'
param registry = {
  subscription: '11111111-1111-1111-1111-111111111111'
  resourceGroup: 'rg-mlr-contoso'
  name: 'mlr-contoso'
}

// fraud-dev-pipeline and the identity of Switchyard for dev: object ids of their service principals.
param pipelinePrincipalId = 'd0000000-0000-0000-0000-000000000001'
param switchyardPrincipalId = 'd0000000-0000-0000-0000-000000000002'

// The Entra group fraud-data-scientists.
param dataScientists = ['d0000000-0000-0000-0000-000000000003']
param computeInstances = [
  {
    name: 'sato'
    objectId: 'd0000000-0000-0000-0000-000000000004'
  }
  {
    name: 'mueller'
    objectId: 'd0000000-0000-0000-0000-000000000005'
    vmSize: 'Standard_E4s_v3'
  }
]

param clusterLowPriority = true
param logCapGb = 2
