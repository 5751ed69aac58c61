// Production: by pipeline only, nobody has a role of their own, more than one zone, within a network of its own.
using 'main.bicep'

param environmentName = 'prod'
param stage = 'prod'
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
param configuration = 'package' // the container is behind the firewall: rules come with the reviewed code
param signInClientId = readEnvironmentVariable('SWITCHYARD_SIGN_IN_CLIENT_ID', '')
param signInRoles = true
param allowedHosts = [
  '*.logic.azure.com' // Workflows of Teams, in both of their forms
  '*.api.powerplatform.com'
  // and the hosts that your webhooks call, such as the one of AIRFLOW_URL
]
param privateNetwork = true
param storageSku = 'Standard_ZRS'
param zoneRedundant = true
param recoverDays = 30
param keepDays = 90
param alwaysReady = {
  http: 1 // whoever opens an approval link does not wait for a cold start
}
param emails = [
  readEnvironmentVariable('SWITCHYARD_MAIL', '')
]
param budget = 150
