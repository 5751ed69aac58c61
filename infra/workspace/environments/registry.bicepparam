// The registry of all projects. Environments name it; their own files say who publishes and who reads.
using '../registry.bicep'

param name = 'mlr-contoso'
param location = 'japaneast'
param owner = 'ml-platform@contoso.com'
