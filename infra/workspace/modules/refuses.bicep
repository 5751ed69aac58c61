// What an environment cannot be. A value that is not allowed here fails the what-if and the deployment, by the name of the parameter.

@description('Persons work in dev. Test and prod are changed by their pipeline\'s service principal, and have no compute instance.')
@maxLength(0)
param personsOutsideDev array

@description('Without public access somebody has to reach the workspace all the same: subnetId says where its private endpoints are.')
@allowed([false])
param closedWithoutSubnet bool

output persons int = length(personsOutsideDev)
output closed bool = closedWithoutSubnet
