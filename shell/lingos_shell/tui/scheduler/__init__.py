"""The scheduler pane: pure rows, graphs and actions; thin widgets that draw them."""
