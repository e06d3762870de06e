"""Networks: layers, their graph and shapes, and reading them from YAML (`paleo_opt.network.load`)."""
