"""What is measured of each peer, one file each; a case is a peer, and all peers take turns in each repetition."""
