"""The job behind `v2t caption`: a folder of videos in, a caption for each out. Start reading at `run.run`."""
