"""Long trials of what rnnjax promises: kills, damage, full disks, generated inputs."""
