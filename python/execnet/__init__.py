from execnet._native import VERSION as __version__
