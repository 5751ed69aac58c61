metadata description = 'A system topic that is there already. It needs a system-assigned identity: infra/README.md says how it gets one.'

param name string

resource topic 'Microsoft.EventGrid/systemTopics@2025-02-15' existing = {
  name: name
}

output id string = topic.id
output principalId string = topic.identity.principalId
