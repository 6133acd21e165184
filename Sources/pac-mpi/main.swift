print("pac-mpi")
