"""The Catalyst arm: recipes, runner and callbacks that train the official PSPNet through Catalyst."""
