"""Where inputs come from, one port for all: recordings and files of frames."""
