print("spmd-checks")
