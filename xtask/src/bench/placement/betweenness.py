"""Betweenness by other libraries: `betweenness.py LINKS RUNS THREADS NAME...`; one JSON object a line.

LINKS has two numbers a line, the ends of a link. What is timed is the library's own call, not making its graph.
"""

import json
import os
import sys
import time

links_file, runs, threads, *names = sys.argv[1:]
os.environ["RAYON_NUM_THREADS"] = threads
links = [tuple(map(int, line.split())) for line in open(links_file)]
nodes = 1 + max(max(link) for link in links)


def rustworkx():
    import rustworkx as library

    graph = library.PyGraph()
    graph.add_nodes_from(range(nodes))
    graph.add_edges_from_no_data(links)
    # Parallel from so many nodes on: never with one thread.
    least = 50 if threads != "1" else nodes + 1

    def work():
        values = library.betweenness_centrality(graph, normalized=False, parallel_threshold=least)
        return [values[node] for node in range(nodes)]

    return work, 1


def igraph():
    import igraph as library

    graph = library.Graph(n=nodes, edges=links)
    return graph.betweenness, 1


def networkit():
    import networkit as library

    library.setNumberOfThreads(int(threads))
    graph = library.Graph(nodes)
    for a, b in links:
        graph.addEdge(a, b)

    def work():
        return library.centrality.Betweenness(graph).run().scores()

    # It counts every pair from both ends.
    return work, 2


for name in names:
    work, times = {"rustworkx": rustworkx, "igraph": igraph, "networkit": networkit}[name]()
    samples = []
    for _ in range(int(runs)):
        begun = time.perf_counter()
        values = work()
        samples.append((time.perf_counter() - begun) * 1e3)
    values = [value / times for value in values]
    print(json.dumps({"name": name, "ms": samples, "values": values}))
