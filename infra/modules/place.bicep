metadata description = 'Where a workspace or a storage account is: its system topic has to stand in the same region. Gives no role.'

param sourceId string

var parts = split(sourceId, '/')

resource workspace 'Microsoft.MachineLearningServices/workspaces@2025-06-01' existing = if (toLower(parts[6]) == 'microsoft.machinelearningservices') {
  name: last(parts)
}

resource account 'Microsoft.Storage/storageAccounts@2024-01-01' existing = if (toLower(parts[6]) == 'microsoft.storage') {
  name: last(parts)
}

output location string = toLower(parts[6]) == 'microsoft.storage' ? account!.location : workspace!.location
