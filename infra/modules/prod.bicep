metadata description = 'Refuses a person as the deployer: production is deployed by a pipeline, and nobody has a role of their own there.'

@description('Of prod: a pipeline. A user or a group is refused before anything is made.')
@allowed(['ServicePrincipal'])
param deployerPrincipalType string

output deployer string = deployerPrincipalType
