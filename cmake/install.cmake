# What `cmake --install` puts where (GNUInstallDirs).
