// Where the fraud models serve. Nobody works here: this file and the project's pipeline are the only ways to change it.
using '../main.bicep'

param project = 'fraud'
param stage = 'prod'
param location = 'japaneast'
param owner = 'fraud-leads@contoso.com'
param registry = {
  subscription: '11111111-1111-1111-1111-111111111111'
  resourceGroup: 'rg-mlr-contoso'
  name: 'mlr-contoso'
}

// fraud-prod-pipeline and the identity of Switchyard for prod: object ids of their service principals, other ones than in dev.
param pipelinePrincipalId = 'a0000000-0000-0000-0000-000000000001'
param switchyardPrincipalId = 'a0000000-0000-0000-0000-000000000002'

// Retraining has to come to an end: nodes that stay.
param clusterNodes = 8
param logDays = 90
