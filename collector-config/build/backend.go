// Written by hand: everything else in this folder is generated.

package main

import (
	"context"
	"strings"

	"go.opentelemetry.io/collector/confmap"
)

// backend makes each URL that names a backend valid. It removes exporters that no pipeline uses: the Collector checks those
// too, and collector.yaml has one for each protocol, but a URL with a path is valid for HTTP alone. And it removes the slash
// at the end of a URL for gRPC.
type backend struct{}

func newBackend(confmap.ConverterSettings) confmap.Converter {
	return backend{}
}

func (backend) Convert(_ context.Context, conf *confmap.Conf) error {
	exporters, _ := conf.Get("exporters").(map[string]any)
	pipelines, ok := conf.Get("service::pipelines").(map[string]any)
	if !ok {
		return nil
	}
	used := map[string]bool{}
	for _, pipeline := range pipelines {
		fields, _ := pipeline.(map[string]any)
		listed, ok := fields["exporters"].([]any)
		if !ok {
			return nil
		}
		for _, exporter := range listed {
			id, ok := exporter.(string)
			if !ok {
				return nil
			}
			used[strings.TrimSpace(id)] = true
		}
	}
	for id := range exporters {
		if !used[id] {
			conf.Delete("exporters::" + id)
		}
	}
	if endpoint, ok := conf.Get("exporters::otlp_grpc::endpoint").(string); ok && strings.HasSuffix(endpoint, "/") {
		endpoint = strings.TrimRight(endpoint, "/")
		return conf.Merge(confmap.NewFromStringMap(map[string]any{
			"exporters": map[string]any{"otlp_grpc": map[string]any{"endpoint": endpoint}},
		}))
	}
	return nil
}
