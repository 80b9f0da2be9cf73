"""What the tests run the package against: real servers, real processes, real sockets. Nothing here is a mock."""
