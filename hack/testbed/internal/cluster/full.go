package cluster

import "context"

func (c *Cluster) upFull(ctx context.Context) error                { panic("x") }
func (c *Cluster) waitForNode(ctx context.Context) error           { panic("x") }
func (c *Cluster) nodeReady(ctx context.Context, client *api) error { panic("x") }
