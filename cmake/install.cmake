# What `cmake --install` puts where (GNUInstallDirs). Component "server" is what runs a server, without libraries and headers
# for developers: cmake --install build/release --component server.
if(TARGET vectord)
  install(TARGETS vectord RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT server)
endif()
install(TARGETS storaged vectorctl RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR} COMPONENT server)
install(FILES README.md CHANGELOG.md LICENSE docs/vectord.toml DESTINATION ${CMAKE_INSTALL_DOCDIR} COMPONENT server)
