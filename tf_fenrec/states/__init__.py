"""What lives from epoch to epoch: layers with weights, so saved, checkpointed and resumed with everything else."""
