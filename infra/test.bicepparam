// The environment before production: the same, smaller, with the workspace of the test team. Deployed by a pipeline.
using 'main.bicep'

param environmentName = 'test'
param stage = 'test'
param location = 'westeurope'
param deployerPrincipalId = readEnvironmentVariable('DEPLOYER_PRINCIPAL_ID', '')
param deployerPrincipalType = 'ServicePrincipal'
param workspaces = [
  {
    id: readEnvironmentVariable('SWITCHYARD_WORKSPACE_ID', '')
    topic: readEnvironmentVariable('SWITCHYARD_WORKSPACE_TOPIC', '')
  }
]
param secrets = [
  'TEAMS_FRAUD_URL'
  'TEAMS_CHURN_URL'
  'TEAMS_PLATFORM_URL'
  'AIRFLOW_URL'
  'AIRFLOW_TOKEN'
]
param signInClientId = readEnvironmentVariable('SWITCHYARD_SIGN_IN_CLIENT_ID', '')
param allowedHosts = [
  '*.logic.azure.com' // Workflows of Teams, in both of their forms
  '*.api.powerplatform.com'
  // and the hosts that your webhooks call, such as the one of AIRFLOW_URL
]
param emails = [
  readEnvironmentVariable('SWITCHYARD_MAIL', '')
]
param budget = 50
