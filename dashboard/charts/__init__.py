"""Charts: pure functions from tables to Altair charts. They know neither Streamlit nor the store."""
